-- What wrk sends while backends are restarted: of 100 requests 24 are POSTs with a body, which may not be repeated, and
-- one takes long. Prints the result as one line of JSON for tests/functional/wrk.py.

local body = string.rep("b", 1000)
local number = 0
local threads = {}
wrong = 0 -- answers other than 200; of one thread

function setup(thread)
  threads[#threads + 1] = thread
end

function request()
  number = number + 1
  if number % 100 == 0 then
    return wrk.format("GET", "/slow")
  elseif number % 4 == 0 then
    return wrk.format("POST", "/post", nil, body)
  end
  return wrk.format("GET", "/get")
end

function response(status)
  if status ~= 200 then
    wrong = wrong + 1
  end
end

function done(summary, latency, requests)
  local others = 0
  for _, thread in ipairs(threads) do
    others = others + thread:get("wrong")
  end
  local e = summary.errors
  io.write(string.format(
    'RESULT {"requests": %d, "seconds": %.6f, "p50_ms": %.4f, "p99_ms": %.4f, "max_ms": %.4f, '
      .. '"errors": {"connect": %d, "read": %d, "write": %d, "timeout": %d, "status": %d}}\n',
    summary.requests, summary.duration / 1e6,
    latency:percentile(50) / 1e3, latency:percentile(99) / 1e3, latency.max / 1e3,
    e.connect, e.read, e.write, e.timeout, others
  ))
end
