cdef class Connector:
    cdef public str _address
    cdef public object _dial, _tls, _last, _limit
    cdef public list _idle
    cdef public bint _closed
    cdef public Py_ssize_t _max_idle
    cdef public double _idle_timeout, _trusted_for, _usable_for, _wary_until

    cpdef take(self, bint careful=*)
    cpdef bint _is_trusted(self) except -1
    cpdef give_back(self, stream)
