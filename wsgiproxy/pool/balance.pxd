from wsgiproxy.pool.backend cimport Backend
