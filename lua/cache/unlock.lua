--[[
cache/unlock: give the lock of a page back, if it is still ours.

KEYS[1]  {page:SALE:PAGE}:lock   string   owner of the right to rebuild it
ARGV[1]  owner

Returns  1 the lock was ours and is free, 0 it was not: nothing was changed
Cost     O(1): one read, at most one write
]]
local lock_key, owner = KEYS[1], ARGV[1]
if redis.call("GET", lock_key) ~= owner then return 0 end
return redis.call("DEL", lock_key)
