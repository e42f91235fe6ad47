--[[
stock/open: accept reservations in one partition from now on.

KEYS[1]  stock:{SALE:PARTITION}:meta   hash   epoch, version, state, writes
ARGV[1]  epoch

Returns  1
Errors   STALE epoch                   nothing was changed
Cost     O(1)
]]
local meta, epoch = KEYS[1], ARGV[1]
local have = redis.call("HGET", meta, "epoch")
if have ~= epoch then return redis.error_reply("STALE " .. (have or "none")) end
redis.call("HSET", meta, "state", "open")
redis.call("HINCRBY", meta, "writes", 1)
return 1
