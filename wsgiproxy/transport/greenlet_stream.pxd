from wsgiproxy.transport.sweeper cimport Sweeper


cdef class GreenletStream:
    cdef object __weakref__
    cdef public object _sock, _errors, _peer, _pipes, _hub, _failure, _reader, _writer
    cdef public object _read_watcher, _write_watcher, _on_hang_up, _on_unread
    cdef public Sweeper _sweeper
    cdef public int _fd
    cdef public bint _armed
    cdef public long long bucket
    cdef public double swept_at, _read_deadline, _write_deadline

    cpdef recv(self, Py_ssize_t size, double deadline)
    cpdef recv_piece(self, Py_ssize_t size, double deadline)
    cpdef recv_now(self, Py_ssize_t size)
    cpdef send_all(self, data, double timeout, double deadline=*)
    cpdef bint is_quiet(self, bint look=*) except -1
    cpdef _wait_readable(self, double deadline)
    cpdef _wait_for_room(self, double timeout, double deadline)
    cpdef _wait_writable(self, double deadline)
    cpdef _arm(self)
    cpdef _on_readable(self)
