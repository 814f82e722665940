cimport cython

from wsgiproxy.http1.message cimport RequestHead
from wsgiproxy.server.input cimport RequestInput
from wsgiproxy.server.pace cimport Pace


@cython.freelist(64)
@cython.final
cdef class Response:
    cdef public object _stream, _result, _fields, _left, hand_over
    cdef public RequestHead _head
    cdef public RequestInput _body
    cdef public Pace _pace
    cdef public str _status
    cdef public double _over
    cdef public bint _keep_alive, _head_sent, _chunked, _no_body, _overrun

    cpdef bint run(self, app, dict environ) except -1
    cpdef write(self, data)
    cpdef _put(self, data)
    cpdef _send(self, result)
    cpdef _pass_on(self, result)
    cpdef _send_whole(self, bytes data)
    cpdef _check_complete(self)
    cpdef _send_head(self, known_length, data)
    cpdef _framed(self, data)
    cpdef bytes _make_head(self, known_length)
    cpdef str _framing_lines(self, length)
