cimport cython

from wsgiproxy.pool.backend cimport Backend


@cython.locals(total=cython.longlong, most=cython.longlong, weight=cython.longlong, current=cython.longlong,
               best=Backend, backend=Backend)
cpdef Backend round_robin(candidates)
@cython.locals(in_flight=cython.longlong, weight=cython.longlong, picked=cython.longlong, latest=cython.longlong,
               load=cython.longlong, least=cython.longlong, uneven=cython.bint, best=Backend, backend=Backend)
cpdef Backend least_conn(candidates)
