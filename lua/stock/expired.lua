--[[
stock/expired: open reservations past their expiry, oldest first. Changes nothing.

KEYS[1]  stock:{SALE:PARTITION}:meta   hash   epoch, version, state
KEYS[2]  stock:{SALE:PARTITION}:due    zset   "order_id units sku buyer" of open reservations, by expiry
ARGV[1]  epoch
ARGV[2]  now_ms, Unix milliseconds
ARGV[3]  how many at most, up to 1000

Returns  the members of the zset
Errors   STALE epoch
Cost     O(log n + answers), bounded by 1000
]]
local meta, due, epoch = KEYS[1], KEYS[2], ARGV[1]
local have = redis.call("HGET", meta, "epoch")
if have ~= epoch then return redis.error_reply("STALE " .. (have or "none")) end
local most = math.min(tonumber(ARGV[3]), 1000)
return redis.call("ZRANGEBYSCORE", due, "-inf", ARGV[2], "LIMIT", 0, most)
