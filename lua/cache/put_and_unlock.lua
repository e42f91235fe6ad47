--[[
cache/put_and_unlock: store a rebuilt page and give its lock back, if it is still ours.

KEYS[1]  page:SALE:PAGE          string   the body of the page
KEYS[2]  {page:SALE:PAGE}:lock   string   owner of the right to rebuild it
ARGV[1]  body
ARGV[2]  time to live in ms, whole, 1 or more
ARGV[3]  owner

Returns  1 the lock was ours and is free, 0 it was not (the lease ran out): the page is stored either way
Errors   BADTTL                  nothing was changed
Cost     O(1): at most one read and two writes
]]
local page_key, lock_key, body, owner = KEYS[1], KEYS[2], ARGV[1], ARGV[3]
local ttl_ms = tonumber(ARGV[2])
if not ttl_ms or ttl_ms < 1 or ttl_ms % 1 ~= 0 then return redis.error_reply("BADTTL " .. ARGV[2]) end
redis.call("SET", page_key, body, "PX", ARGV[2])
if redis.call("GET", lock_key) ~= owner then return 0 end
return redis.call("DEL", lock_key)
