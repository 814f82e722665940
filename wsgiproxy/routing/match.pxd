cimport cython

from wsgiproxy.http1.message cimport RequestHead


@cython.final
cdef class RequestFacts:
    cdef public RequestHead _head
    cdef public dict _headers, _parameters


@cython.final
cdef class Value:
    cdef public str name
    cdef public object exact, _regex


@cython.final
cdef class Conditions:
    cdef public frozenset _methods
    cdef public tuple _headers, _query, rank
    cdef public bint none
    cdef public dict exact
