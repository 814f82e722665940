cimport cython

from wsgiproxy.pool.pool cimport Lease, Pool
from wsgiproxy.proxy.attempt cimport attempt
from wsgiproxy.proxy.exchange cimport Exchange
from wsgiproxy.upstream.messages cimport UpstreamRequest, UpstreamResponse


@cython.locals(lease=Lease, response=UpstreamResponse, hedges=cython.bint, began=cython.double)
cpdef tuple forward(Exchange exchange, Pool pool, UpstreamRequest request, prefer=*)
@cython.locals(lease=Lease)
cdef Lease _acquire(Exchange exchange, Pool pool, UpstreamRequest request, list tried, key, failure, prefer)
