--[[
stock/hold: close one partition under a new epoch, so that it can be looked over: nobody on the old one changes it any more.

KEYS[1]  stock:{SALE:PARTITION}:meta   hash   epoch, version, state, writes
ARGV[1]  epoch      it must be on now, open or held before
ARGV[2]  new epoch

Returns  1 held under the new epoch, 0 it is on neither, or not whole: nothing was changed
Cost     O(1)
]]
local meta, epoch, fresh = KEYS[1], ARGV[1], ARGV[2]
local found = redis.call("HMGET", meta, "epoch", "state")
local whole = found[2] == "open" or found[2] == "held"
if not whole then return 0 end
if found[1] == fresh then return 1 end
if found[1] ~= epoch then return 0 end
redis.call("HSET", meta, "epoch", fresh, "state", "held")
redis.call("HINCRBY", meta, "writes", 1)
return 1
