--[[
stock/borrow: put lent units into the shard that asked for them, once a transfer.

KEYS[1]  stock:{SALE:PARTITION}:meta       hash   epoch, version, state, writes
KEYS[2]  stock:{SALE:PARTITION}:units      hash   I<sku> "price total limit", L<sku> left (absent: total)
KEYS[3]  stock:{SALE:PARTITION}:borrowed   hash   transfer id -> units
ARGV[1]  epoch
ARGV[2]  transfer id
ARGV[3]  sku
ARGV[4]  units lent, whole, 1 or more

Returns  1 arrived now, 0 had arrived before
Errors   STALE epoch, BADUNITS             nothing was changed
Cost     O(1)
]]
local meta, units_key, borrowed, epoch = KEYS[1], KEYS[2], KEYS[3], ARGV[1]
local have = redis.call("HGET", meta, "epoch")
if have ~= epoch then return redis.error_reply("STALE " .. (have or "none")) end
local units = tonumber(ARGV[4])
if not units or units < 1 or units % 1 ~= 0 then return redis.error_reply("BADUNITS " .. ARGV[4]) end
if redis.call("HSETNX", borrowed, ARGV[2], ARGV[4]) == 0 then return 0 end
local row = redis.call("HMGET", units_key, "L" .. ARGV[3], "I" .. ARGV[3])
local left = tonumber(row[1] or string.match(row[2] or "", "^%d+ (%d+)") or 0)
redis.call("HSET", units_key, "L" .. ARGV[3], left + units)
redis.call("HINCRBY", meta, "writes", 1)
return 1
