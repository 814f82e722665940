from wsgiproxy.upstream.connector cimport Connector
from wsgiproxy.upstream.conversation cimport Conversation
from wsgiproxy.upstream.messages cimport UpstreamRequest, UpstreamResponse


cdef class HttpUpstream:
    cdef public str _authority
    cdef public Connector _connector
    cdef public object _spawn, _proxy_protocol
    cdef public bint _own_host

    cpdef _converse(self, stream, Connector connector, UpstreamRequest request, bytes first, bint reused)
    cpdef bytes _preface(self, client)
