--[[
stock/lend: take units out of one shard for a sibling that ran dry, once a transfer.

KEYS[1]  stock:{SALE:PARTITION}:meta    hash   epoch, version, state
KEYS[2]  stock:{SALE:PARTITION}:units   hash   I<sku> "price total limit", L<sku> left (absent: total)
KEYS[3]  stock:{SALE:PARTITION}:lent    hash   transfer id -> "units at_ms partition sku", until settled
ARGV[1]  epoch
ARGV[2]  transfer id
ARGV[3]  sku
ARGV[4]  units wanted, whole, 1 or more
ARGV[5]  the partition that gets them
ARGV[6]  now_ms

Returns  units lent: half of what is left, at least the wanted ones if they are there, 0 if the shard is empty
Errors   STALE epoch, BADUNITS          nothing was changed
Cost     O(1)
]]
local meta, units_key, lent, epoch = KEYS[1], KEYS[2], KEYS[3], ARGV[1]
local have = redis.call("HGET", meta, "epoch")
if have ~= epoch then return redis.error_reply("STALE " .. (have or "none")) end
local wanted = tonumber(ARGV[4])
if not wanted or wanted < 1 or wanted % 1 ~= 0 then return redis.error_reply("BADUNITS " .. ARGV[4]) end
local before = redis.call("HGET", lent, ARGV[2])
if before then return tonumber(string.match(before, "^%d+")) end
local row = redis.call("HMGET", units_key, "L" .. ARGV[3], "I" .. ARGV[3])
local left = tonumber(row[1] or string.match(row[2] or "", "^%d+ (%d+)") or 0)
local given = math.min(left, math.max(wanted, math.floor(left / 2)))
if given < 1 then return 0 end
redis.call("HSET", units_key, "L" .. ARGV[3], left - given)
redis.call("HSET", lent, ARGV[2], given .. " " .. ARGV[6] .. " " .. ARGV[5] .. " " .. ARGV[3])
return given
