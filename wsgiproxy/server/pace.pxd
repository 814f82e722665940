cimport cython


@cython.final
cdef class Pace:
    cdef public double body, write, response, rate

    cpdef send(self, stream, data, double over=*)


@cython.final
cdef class BodySource:
    cdef public object _stream
    cdef public Pace _pace
    cdef public long long _received
    cdef public double _waited, over
    cdef public bint _waiting, interrupted
