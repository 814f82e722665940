cimport cython

from wsgiproxy.proxy.exchange cimport Exchange


@cython.final
cdef class Tunnel:
    cdef public object _backend, _body, _client, _early, _failed, _lease, _spawn
    cdef public Exchange _exchange
    cdef public double _active_at, _idle_timeout, _write_timeout
    cdef public bint _client_left, _over

    cpdef _pump(self, source, sink, data)
    cpdef _receive(self, source, bint bulk)
