cimport cython


@cython.final
cdef class Roster:
    cdef public object budget, chance, clock, driver, lock, outliers, slow_start, waiting
    cdef public tuple backends
    cdef public double ramped_at, returns_at
    cdef public bint panics, ramping
    cdef public long long changes, requests


@cython.final
cdef class Backend:
    cdef public str pool_name, address, admin_state, health
    cdef public object upstream, prober, window
    cdef public tuple results
    cdef public Roster roster
    cdef public long long in_flight, share, max_in_flight, priority, weight, picked, current_weight, requests, failures
    cdef public long long gateway_failures, server_errors, ejections, seed, streak, alike
    cdef public double ejected_at, ejected_until, latency, latency_at, ramp_from
    cdef public bint added, awaited, backup, checked
    cdef public double changed_at
