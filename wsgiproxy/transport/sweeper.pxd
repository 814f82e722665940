cdef class Sweeper:
    cdef public dict _buckets
    cdef public long long _next
    cdef public object _timer

    cpdef put(self, stream, double deadline)
    cpdef remove(self, stream)
