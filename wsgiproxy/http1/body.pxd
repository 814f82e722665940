cimport cython

from wsgiproxy.http1.message cimport Framing


@cython.final
cdef class BodyReader:
    cdef public object _receive, _malformed, _truncated, _failure, _size_line
    cdef public object _remaining
    cdef public bytes _buffer
    cdef public Py_ssize_t _position, _extensions
    cdef public list _trailers
    cdef public bint _chunked, _in_trailers, finished
    cdef public long long received

    cpdef read_some(self)
    cpdef read_piece(self, receive)
    cpdef bint is_ready(self)
    cpdef bytes leftover(self)
