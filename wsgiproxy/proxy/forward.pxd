cimport cython

from wsgiproxy.pool.backend cimport Backend
from wsgiproxy.pool.pool cimport Lease, Pool
from wsgiproxy.proxy.exchange cimport Exchange
from wsgiproxy.upstream.messages cimport UpstreamRequest, UpstreamResponse


@cython.locals(lease=Lease, response=UpstreamResponse)
cpdef tuple forward(Exchange exchange, Pool pool, UpstreamRequest request)
cdef UpstreamResponse _attempt(Exchange exchange, Backend backend, UpstreamRequest request)
