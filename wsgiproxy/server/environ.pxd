from wsgiproxy.http1.message cimport RequestHead


cpdef dict request_environ(dict base, RequestHead head)
