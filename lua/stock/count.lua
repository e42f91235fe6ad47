--[[
stock/count: the counters of some SKUs in one partition, all at one instant. Changes nothing.

KEYS[1]  stock:{SALE:PARTITION}:meta    hash   epoch, version, state
KEYS[2]  stock:{SALE:PARTITION}:units   hash   I<sku> "price total limit", L<sku> left (absent: total), R<sku> reserved,
                                               S<sku> sold, G<sku> releases, T<sku> lent and not settled
ARGV[1]  epoch
ARGV[2]  msgpack: a list of SKUs, at most 1000

Returns  msgpack: a list of {total, left, reserved, sold, releases, in_transit}; total -1 for a SKU that is not here
Errors   STALE epoch, TOOMANY
Cost     O(SKUs), bounded by 1000
]]
local meta, units_key, epoch = KEYS[1], KEYS[2], ARGV[1]
local have = redis.call("HGET", meta, "epoch")
if have ~= epoch then return redis.error_reply("STALE " .. (have or "none")) end
local skus = cmsgpack.unpack(ARGV[2])
if #skus > 1000 then return redis.error_reply("TOOMANY " .. #skus) end
local counts = {}
for i = 1, #skus do
  local sku = skus[i]
  local row = redis.call("HMGET", units_key, "I" .. sku, "L" .. sku, "R" .. sku, "S" .. sku, "G" .. sku, "T" .. sku)
  if row[1] then
    local total = tonumber(string.match(row[1], "^%d+ (%d+) "))
    local left, reserved, sold = tonumber(row[2] or total), tonumber(row[3] or 0), tonumber(row[4] or 0)
    counts[i] = { total, left, reserved, sold, tonumber(row[5] or 0), tonumber(row[6] or 0) }
  else
    counts[i] = { -1, 0, 0, 0, 0, 0 }
  end
end
return cmsgpack.pack(counts)
