cimport cython

from wsgiproxy.http1.message cimport RequestHead
from wsgiproxy.pool.pool cimport Pool
from wsgiproxy.routing.match cimport Conditions, RequestFacts


@cython.final
cdef class Route:
    cdef public str name
    cdef public Pool pool
    cdef public object respond, redirect, strip_prefix, body_bytes, upgrades
    cdef public tuple trailers


@cython.final
cdef class _Bucket:
    cdef public object _key
    cdef public dict _by_value
    cdef public list _others

    cpdef find(self, RequestFacts facts)


@cython.final
cdef class _HostGroup:
    cdef public dict _exact, _prefixes
    cdef public Py_ssize_t _depth
    cdef public list _regexes

    cpdef find(self, str path, RequestFacts facts)


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

    cpdef match(self, RequestHead head, str path)
    cpdef list _groups_of(self, str host)


cdef _first(candidates, RequestFacts facts)
cdef list _prefixes_of(str path, Py_ssize_t depth)
cdef str _host_name(str authority)
