from wsgiproxy.http1.message cimport Framing


cpdef content_length(str value)
cpdef Framing request_framing(str version, str length, str transfer_encoding)
cpdef Framing response_framing(str method, int status, str version, str length, str transfer_encoding)
