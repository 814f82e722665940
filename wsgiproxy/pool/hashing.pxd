cimport cython


@cython.locals(mask=cython.ulonglong, first=cython.ulonglong, second=cython.ulonglong, bits=cython.ulonglong)
cpdef double wait(long long seed, long long key)
