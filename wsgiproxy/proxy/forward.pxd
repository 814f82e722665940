cimport cython

from wsgiproxy.pool.backend cimport Backend
from wsgiproxy.pool.pool cimport Lease, Pool
from wsgiproxy.proxy.exchange cimport Exchange
from wsgiproxy.upstream.messages cimport UpstreamRequest, UpstreamResponse


@cython.locals(lease=Lease, response=UpstreamResponse, began=cython.double)
cpdef tuple forward(Exchange exchange, Pool pool, UpstreamRequest request)
@cython.locals(lease=Lease)
cdef Lease _acquire(Exchange exchange, Pool pool, UpstreamRequest request, list tried, key, failure)
cdef UpstreamResponse _attempt(Exchange exchange, Backend backend, UpstreamRequest request)
