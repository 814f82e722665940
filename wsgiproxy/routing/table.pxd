cimport cython

from wsgiproxy.http1.message cimport RequestHead
from wsgiproxy.pool.pool cimport Pool
from wsgiproxy.routing.match cimport Conditions, RequestFacts


@cython.final
cdef class Route:
    cdef public str name
    cdef public Pool pool
    cdef public object respond, redirect, split, strip_prefix, body_bytes, timeouts, upgrades
    cdef public tuple trailers


@cython.final
cdef class RouteMatch:
    cdef public Route route
    cdef public Py_ssize_t prefix_elements


@cython.final
cdef class _Candidate:
    cdef public Conditions conditions
    cdef public RouteMatch found
    cdef public tuple rank


@cython.final
cdef class _Bucket:
    cdef public object _key
    cdef public dict _by_value
    cdef public list _others

    @cython.locals(other=_Candidate, own=_Candidate)
    cpdef RouteMatch find(self, RequestFacts facts)


@cython.final
cdef class _HostGroup:
    cdef public dict _exact, _prefixes
    cdef public Py_ssize_t _depth
    cdef public list _regexes

    @cython.locals(bucket=_Bucket)
    cpdef RouteMatch find(self, str path, RequestFacts facts)


@cython.final
cdef class _Matches:
    cdef public dict exact, prefixes, regexes


@cython.final
cdef class RoutingTable:
    cdef public _HostGroup _any
    cdef public dict _hosts, _wildcards
    cdef public Py_ssize_t _labels
    cdef public object forwarding, headers, pools, trusted_proxies
    cdef public bint forwards_plainly
    cdef public long long generation

    @cython.locals(group=_HostGroup)
    cpdef RouteMatch match(self, RequestHead head, str path)
    cpdef list _groups_of(self, str host)


@cython.locals(candidate=_Candidate)
cdef _Candidate _first(candidates, RequestFacts facts)
cdef list _prefixes_of(str path, Py_ssize_t depth)
cdef str _host_name(str authority)
