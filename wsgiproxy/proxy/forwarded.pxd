from wsgiproxy.http1.message cimport RequestHead


cpdef str plain_lines(dict environ, RequestHead head, str prefix)
