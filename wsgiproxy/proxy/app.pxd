from wsgiproxy.http1.message cimport RequestHead
from wsgiproxy.pool.pool cimport Lease, Pool
from wsgiproxy.proxy.exchange cimport Exchange
from wsgiproxy.proxy.response cimport ForwardedBody
from wsgiproxy.routing.path cimport NormalPath
from wsgiproxy.routing.table cimport Route, RoutingTable
from wsgiproxy.upstream.messages cimport UpstreamRequest, UpstreamResponse


cdef class ProxyApp:
    cdef dict __dict__
    cdef object __weakref__
    cdef public object _runtime, _fallback, _log
