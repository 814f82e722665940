cimport cython

from wsgiproxy.pool.backend cimport Backend
from wsgiproxy.pool.hashing cimport wait


@cython.locals(total=cython.longlong, most=cython.longlong, weight=cython.longlong, current=cython.longlong,
               best=Backend, backend=Backend)
cpdef Backend round_robin(candidates)
@cython.locals(in_flight=cython.longlong, weight=cython.longlong, picked=cython.longlong, latest=cython.longlong,
               load=cython.longlong, least=cython.longlong, uneven=cython.bint, best=Backend, backend=Backend)
cpdef Backend least_conn(candidates)
@cython.locals(total=cython.longlong, under_way=cython.longlong, least=cython.double, turn=cython.double,
               best=Backend, backend=Backend)
cpdef Backend bounded_hash(candidates, long long key)
