cimport cython

from wsgiproxy.pool.pool cimport Lease
from wsgiproxy.proxy.exchange cimport Exchange


@cython.freelist(64)
@cython.final
cdef class ForwardedBody:
    cdef public object _body
    cdef public Lease _lease
    cdef public Exchange _exchange
    cdef public tuple trailer_names
    cdef public bint _over, _failed
    cdef public double ends_by

    cpdef is_over(self)
    cpdef _fail(self, error)
