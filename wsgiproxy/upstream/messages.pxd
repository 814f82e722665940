cimport cython

from wsgiproxy.http1.message cimport Framing


@cython.freelist(64)
@cython.final
cdef class UpstreamRequest:
    cdef public str method, target, host, lines, script_name, path_info, query, upgrade, scheme
    cdef public Framing framing
    cdef public object body, on_cancel, on_early_hints, client, timeouts
    cdef public double head_by, ends_by
    cdef public dict environ
    cdef public tuple trailers


@cython.freelist(64)
@cython.final
cdef class UpstreamResponse:
    cdef public int status
    cdef public double connect_seconds
    cdef public str reason
    cdef public list fields
    cdef public object length, body


cpdef bint may_be_repeated(UpstreamRequest request)
