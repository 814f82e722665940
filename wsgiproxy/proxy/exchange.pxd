cimport cython

from wsgiproxy.http1.message cimport RequestHead


@cython.freelist(64)
@cython.final
cdef class Exchange:
    cdef public object _log, client
    cdef public dict environ
    cdef public RequestHead head
    cdef public double started_at, first_byte_at, ended_at, queue_seconds, connect_seconds
    cdef public list failures
    cdef public str route, pool, backend, reason
    cdef public int attempts, status
    cdef public long long bytes_sent

    cpdef finish(self)
