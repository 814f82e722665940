cimport cython

from wsgiproxy.pool.backend cimport Backend, Roster


@cython.freelist(64)
@cython.final
cdef class Lease:
    cdef public Pool _pool
    cdef public Backend backend
    cdef public bint _bad, _good, _released, detour, gamble
    cdef public double taken_at, waited

    cpdef release(self, bint failed=*)
    cpdef answered(self, int status)


@cython.final
cdef class Pool:
    cdef public str name
    cdef public double attempt_timeout
    cdef public object block, hash_on, sticky, timeouts, _pick
    cdef public tuple backends, retried_statuses, _first, _others
    cdef public list _news
    cdef public Roster _roster
    cdef public long long _known_changes
    cdef public bint hedges, _limited, _timed

    cpdef Lease acquire(self, exclude=*, key=*, on_cancel=*, patience=*, double ends_by=*, prefer=*)
    cpdef Lease take(self, exclude, key, prefer=*)
    cdef Lease _lease(self, Backend backend)
    cdef _catch_up(self)
