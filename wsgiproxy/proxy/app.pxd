cimport cython

from wsgiproxy.http1.message cimport RequestHead
from wsgiproxy.pool.pool cimport Lease, Pool
from wsgiproxy.proxy.exchange cimport Exchange
from wsgiproxy.proxy.response cimport ForwardedBody
from wsgiproxy.routing.path cimport NormalPath
from wsgiproxy.routing.table cimport Route, RouteMatch, RoutingTable
from wsgiproxy.upstream.messages cimport UpstreamRequest, UpstreamResponse


cdef class ProxyApp:
    cdef dict __dict__
    cdef object __weakref__
    cdef public object _runtime, _fallback, _log

    @cython.locals(
        exchange=Exchange, head=RequestHead, table=RoutingTable, path=NormalPath, match=RouteMatch, route=Route,
        pool=Pool, request=UpstreamRequest, response=UpstreamResponse, lease=Lease,
    )
    cpdef _serve(self, dict environ, start_response)
