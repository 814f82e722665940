cpdef bytes request_head(str method, str target, str host, str lines, str hop)
cpdef bytes response_head(str status, str fields)
