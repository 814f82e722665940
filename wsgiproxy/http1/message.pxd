cimport cython


@cython.freelist(64)
@cython.final
cdef class Framing:
    cdef public object length
    cdef public bint chunked, until_close


@cython.freelist(64)
@cython.final
cdef class RequestHead:
    cdef public str method, target, version, path, query, host, lines
    cdef public bytes _data
    cdef public list _fields
    cdef public dict environ
    cdef public Framing framing
    cdef public bint keep_alive, expect_continue


@cython.freelist(64)
@cython.final
cdef class ResponseHead:
    cdef public int status
    cdef public str reason, version, upgrade
    cdef public list fields
    cdef public Framing framing
    cdef public bint keep_alive
