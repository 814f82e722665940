-- What wrk sends and what it prints: a browser's request of 12 header fields (wrk adds Host and keeps the connection
-- open by itself), and the result as one line of JSON for tests/bench/works.py.

wrk.method = "GET"
wrk.headers["Connection"] = "keep-alive"
wrk.headers["sec-ch-ua"] = '"Not=A?Brand";v="24", "Chromium";v="140", "Google Chrome";v="140"'
wrk.headers["sec-ch-ua-mobile"] = "?0"
wrk.headers["sec-ch-ua-platform"] = '"Linux"'
wrk.headers["User-Agent"] =
  "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36"
wrk.headers["Accept"] =
  "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8"
wrk.headers["Sec-Fetch-Site"] = "same-origin"
wrk.headers["Referer"] = "http://shop.example.org/catalogue?page=2"
wrk.headers["Accept-Encoding"] = "gzip, deflate, br, zstd"
wrk.headers["Accept-Language"] = "en-GB,en;q=0.9,de;q=0.8"
wrk.headers["Cookie"] =
  "sessionid=q8w2n5t7y1u4i6o9p3a0s2d5f8g1h4j7; csrftoken=Zk3vR9xLm2Qw8Ty5; theme=dark; seen=1732300000"

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
