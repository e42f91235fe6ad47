--[[
stock/begin: mark one partition as being seeded.

KEYS[1]  stock:{SALE:PARTITION}:meta    hash   epoch, version, state, writes
KEYS[2]  stock:{SALE:PARTITION}:units   hash   gets its field "#", see below
ARGV[1]  epoch    what every later act must carry
ARGV[2]  version  of the items (their content)

Returns  1 marked now, 0 was marked with the same epoch and version already
Errors   SEEDED epoch version          another sale lives here; nothing was changed
Cost     O(1)

Every script that changes something of a partition counts its meta's "writes" up by one: a server that shows fewer than it has
shown came back from an older copy of itself.

The field "#" is longer than hash-max-listpack-value (64 bytes): it makes Redis keep the hash as a table from the
start. As a listpack each read of a counter would walk through all of them (measured: 9 microseconds instead of 1).
]]
local meta, units, epoch, version = KEYS[1], KEYS[2], ARGV[1], ARGV[2]
local found = redis.call("HMGET", meta, "epoch", "version")
if found[1] then
  if found[1] == epoch and found[2] == version then return 0 end
  return redis.error_reply("SEEDED " .. found[1] .. " " .. (found[2] or "?"))
end
redis.call("HSET", units, "#", string.rep("#", 80))
redis.call("HSET", meta, "epoch", epoch, "version", version, "state", "seeding")
redis.call("HINCRBY", meta, "writes", 1)
return 1
