-- wrk: every request is a new order; tokens come from a file, one a line, and are used in turn.
local tokens, n, skus = {}, 0, {}
for line in io.lines(os.getenv("BENCH_TOKENS")) do tokens[#tokens + 1] = "Bearer " .. line end
for sku in string.gmatch(os.getenv("BENCH_SKUS"), "[^,]+") do
  skus[#skus + 1] = '{"sku":"' .. sku .. '","units":1,"payment_token":"tok_visa"}'
end
local run = os.getenv("BENCH_RUN") .. "-"
local headers = { ["content-type"] = "application/json" }
function request()
  n = n + 1
  headers["authorization"] = tokens[n % #tokens + 1]
  headers["idempotency-key"] = run .. n
  return wrk.format("POST", "/orders", headers, skus[n % #skus + 1])
end
function done(summary, latency)
  io.write(string.format('{"requests":%d,"seconds":%f,"bad":%d,"p50_ms":%f,"p99_ms":%f}\n', summary.requests,
    summary.duration / 1e6, summary.errors.status + summary.errors.connect + summary.errors.read
    + summary.errors.timeout, latency:percentile(50) / 1000, latency:percentile(99) / 1000))
end
