-- What wrk sends and what it prints: a browser's request, and the result as one line of JSON for tests/bench/drive.py.
-- The environment changes the request (each is optional):
--   BENCH_FIELDS   how many header fields, Host included (12)
--   BENCH_UPLOAD   POST with a body of so many bytes
--   BENCH_CLOSE    ask for the end of the connection after each answer
--   BENCH_ROUTES   visit paths all over so many routes, /r000000/cart and so on

local fields = { -- wrk adds Host
  { "Connection", os.getenv("BENCH_CLOSE") and "close" or "keep-alive" },
  { "User-Agent",
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36" },
  { "Accept",
    "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8" },
  { "Accept-Encoding", "gzip, deflate, br, zstd" },
  { "Accept-Language", "en-GB,en;q=0.9,de;q=0.8" },
  { "sec-ch-ua", '"Not=A?Brand";v="24", "Chromium";v="140", "Google Chrome";v="140"' },
  { "sec-ch-ua-mobile", "?0" },
  { "sec-ch-ua-platform", '"Linux"' },
  { "Sec-Fetch-Site", "same-origin" },
  { "Referer", "http://shop.example.org/catalogue?page=2" },
  { "Cookie", "sessionid=q8w2n5t7y1u4i6o9p3a0s2d5f8g1h4j7; csrftoken=Zk3vR9xLm2Qw8Ty5; theme=dark; seen=1732300000" },
}

wrk.method = "GET"
for number = 1, tonumber(os.getenv("BENCH_FIELDS") or #fields + 1) - 1 do
  local field = fields[number] or { string.format("X-Field-%02d", number), string.format("value %02d of many", number) }
  wrk.headers[field[1]] = field[2]
end

local upload = tonumber(os.getenv("BENCH_UPLOAD") or 0)
if upload > 0 then
  wrk.method = "POST"
  wrk.body = string.rep("u", upload)
end

local routes = tonumber(os.getenv("BENCH_ROUTES") or 0)
if routes > 0 then
  local distinct = math.min(routes, 1000)
  local requests, last = {}, 0

  function init(args)
    for number = 1, distinct do
      local route = math.floor((number - 1) * routes / distinct)
      requests[number] = wrk.format(nil, string.format("/r%06d/cart", route))
    end
  end

  function request()
    last = last % distinct + 1
    return requests[last]
  end
end

function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format(
    'RESULT {"requests": %d, "bytes": %d, "seconds": %.6f, "p50_ms": %.4f, "p99_ms": %.4f, '
      .. '"connect": %d, "read": %d, "write": %d, "status": %d, "timeout": %d}\n',
    summary.requests, summary.bytes, summary.duration / 1e6,
    latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    e.connect, e.read, e.write, e.status, e.timeout
  ))
end
