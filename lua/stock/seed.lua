--[[
stock/seed: put SKUs on sale in one partition, each once.

KEYS[1]  stock:{SALE:PARTITION}:meta    hash   epoch, version, state, writes
KEYS[2]  stock:{SALE:PARTITION}:units   hash   I<sku> "price total limit"; its L<sku> comes with the first order
ARGV[1]  epoch
ARGV[2]  msgpack: a flat list sku, "price total limit", sku, ...   at most 1000 SKUs

Returns  how many of them were new; those already there keep their counters
Errors   STALE epoch, TOOMANY           nothing was changed
Cost     O(SKUs), bounded by 1000; four commands whatever their number
]]
local meta, units, epoch = KEYS[1], KEYS[2], ARGV[1]
local have = redis.call("HGET", meta, "epoch")
if have ~= epoch then return redis.error_reply("STALE " .. (have or "none")) end
local rows = cmsgpack.unpack(ARGV[2])
local count = #rows / 2
if count > 1000 then return redis.error_reply("TOOMANY " .. count) end
local names, fields = {}, {}
for i = 1, count do names[i] = "I" .. rows[i * 2 - 1] end
local known = redis.call("HMGET", units, unpack(names))
local n = 0
for i = 1, count do
  if not known[i] then
    fields[n + 1] = names[i]
    fields[n + 2] = rows[i * 2]
    n = n + 2
  end
end
if n > 0 then
  redis.call("HSET", units, unpack(fields))
  redis.call("HINCRBY", meta, "writes", 1)
end
return n / 2
