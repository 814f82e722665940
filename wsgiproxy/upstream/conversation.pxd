cimport cython

from wsgiproxy.http1.body cimport BodyReader
from wsgiproxy.http1.message cimport Framing, ResponseHead
from wsgiproxy.upstream.connector cimport Connector
from wsgiproxy.upstream.messages cimport UpstreamRequest, UpstreamResponse


@cython.freelist(64)
@cython.final
cdef class Conversation:
    cdef public object _stream, _spawn, _on_cancel, _upload, _uploading
    cdef public Connector _connector
    cdef public UpstreamRequest _request
    cdef public double _give_up_at, _patience
    cdef public bytes _piece
    cdef public BodyReader _reader
    cdef public tuple _trailer_names
    cdef public bint _ended, _reusable, sent, answered

    @cython.locals(head=ResponseHead, rest=bytes, framing=Framing, head_bytes=bytes, give_up_at=cython.double)
    cpdef UpstreamResponse run(self, UpstreamRequest request, str host, bytes first=*)
    cpdef read_piece(self)
    cpdef bint is_ready(self)
    cpdef bint is_over(self)
    cpdef close(self)
    cpdef _end(self)
    cpdef _finish(self)
    cpdef _open_stream(self)
    cpdef _await_answer(self, timeouts)
    cpdef double _deadline(self) except? -1
    cpdef _read(self, receive)
    cpdef bytes _receive(self, Py_ssize_t size)
    @cython.locals(head=ResponseHead, end=Py_ssize_t, piece=bytes)
    cpdef tuple _read_head(self, stream, UpstreamRequest request, bytes data)


@cython.locals(framing=Framing)
cpdef bytes _request_head(UpstreamRequest request, str host)
