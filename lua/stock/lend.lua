--[[
stock/lend: take units out of one shard for a sibling that ran dry, once a transfer.

KEYS[1]  stock:{SALE:PARTITION}:meta    hash   epoch, version, state, writes
KEYS[2]  stock:{SALE:PARTITION}:units   hash   I<sku> "price total limit", L<sku> left (absent: total), V<sku> of it not to be
                                               sold before W<sku>, T<sku> lent and not settled
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
local sku = ARGV[3]
local row = redis.call("HMGET", units_key, "L" .. sku, "I" .. sku, "V" .. sku, "W" .. sku)
local all = tonumber(row[1] or string.match(row[2] or "", "^%d+ (%d+)") or 0)
local left = all
if row[4] and tonumber(ARGV[6]) < tonumber(row[4]) then left = all - tonumber(row[3]) end
local given = math.min(left, math.max(wanted, math.floor(left / 2)))
if given < 1 then return 0 end
redis.call("HSET", units_key, "L" .. sku, all - given)
redis.call("HINCRBY", units_key, "T" .. sku, given)
redis.call("HINCRBY", meta, "writes", 1)
redis.call("HSET", lent, ARGV[2], given .. " " .. ARGV[6] .. " " .. ARGV[5] .. " " .. sku)
return given
