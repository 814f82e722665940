from wsgiproxy.pool.backend cimport Backend
from wsgiproxy.proxy.exchange cimport Exchange
from wsgiproxy.upstream.messages cimport UpstreamRequest, UpstreamResponse


cpdef UpstreamResponse attempt(Exchange exchange, Backend backend, UpstreamRequest request)
