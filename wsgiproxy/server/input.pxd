cimport cython

from wsgiproxy.http1.body cimport BodyReader
from wsgiproxy.server.pace cimport BodySource


@cython.freelist(64)
@cython.final
cdef class RequestInput:
    cdef public object _limit, _before_read
    cdef public BodyReader _reader
    cdef public BodySource _source
    cdef public bytes _pending
    cdef public Py_ssize_t _start

    cpdef bint take_back_continue(self)
