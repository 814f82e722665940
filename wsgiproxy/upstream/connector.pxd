cdef class Connector:
    cdef public str _address
    cdef public object _dial, _tls, _last, _limit
    cdef public list _idle
    cdef public bint _closed
    cdef public Py_ssize_t _max_idle
    cdef public double _idle_timeout, _usable_for

    cpdef take(self, bint look=*)
    cpdef give_back(self, stream)
