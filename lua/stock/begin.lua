--[[
stock/begin: mark one partition as being seeded.

KEYS[1]  stock:{SALE:PARTITION}:meta   hash   epoch, version, state
ARGV[1]  epoch    what every later act must carry
ARGV[2]  version  of the items (their content)

Returns  1 marked now, 0 was marked with the same epoch and version already
Errors   SEEDED epoch version          another sale lives here; nothing was changed
Cost     O(1)
]]
local meta, epoch, version = KEYS[1], ARGV[1], ARGV[2]
local found = redis.call("HMGET", meta, "epoch", "version")
if found[1] then
  if found[1] == epoch and found[2] == version then return 0 end
  return redis.error_reply("SEEDED " .. found[1] .. " " .. (found[2] or "?"))
end
redis.call("HSET", meta, "epoch", epoch, "version", version, "state", "seeding")
return 1
