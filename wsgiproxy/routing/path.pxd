cimport cython


@cython.freelist(64)
@cython.final
cdef class NormalPath:
    cdef public str raw, text


cpdef NormalPath normalize_path(str raw)
