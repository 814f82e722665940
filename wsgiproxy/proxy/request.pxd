cimport cython

from wsgiproxy.http1.message cimport Framing, RequestHead
from wsgiproxy.proxy.exchange cimport Exchange
from wsgiproxy.routing.path cimport NormalPath
from wsgiproxy.routing.table cimport Route, RouteMatch, RoutingTable
from wsgiproxy.upstream.messages cimport UpstreamRequest


cpdef head_of(dict environ)
@cython.locals(route=Route, framing=Framing, request=UpstreamRequest)
cpdef UpstreamRequest upstream_request(
    Exchange exchange, RoutingTable table, RequestHead head, NormalPath path, RouteMatch match
)
