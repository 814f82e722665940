cimport cython

from wsgiproxy.http1.message cimport RequestHead
from wsgiproxy.server.input cimport RequestInput
from wsgiproxy.server.response cimport Response


@cython.final
cdef class Connection:
    cdef public object _server, _stream, _cancel
    cdef public dict _base
    cdef public bytes _buffer
    cdef public RequestHead _head
    cdef public Response _response
    cdef public bint _gone, _handed_over, idle
    cdef public long long requests

    cpdef bint _serve_one(self) except -1
    cpdef RequestHead _read_head(self)
    cpdef bint _await_request(self) except -1
    cpdef RequestInput _open_body(self, RequestHead head)
    cpdef _on_cancel(self, cancel)
