--[[
stock/amend: a repair of one SKU in one partition: all of its changes or none, each guarded by what it expects to find.

KEYS[1]  stock:{SALE:PARTITION}:meta       hash   epoch, version, state
KEYS[2]  stock:{SALE:PARTITION}:units      hash   I<sku> "price total limit", L<sku> left (absent: total), R<sku> reserved,
                                                  S<sku> sold, G<sku> releases, V<sku> and W<sku>: see stock/release
KEYS[3]  stock:{SALE:PARTITION}:due        zset   "order_id units sku buyer" of open reservations, by expiry
KEYS[4]  stock:{SALE:PARTITION}:buyers     hash   "sku buyer" -> units held, for SKUs with a limit
KEYS[5]  stock:{SALE:PARTITION}:held:SKU   hash   order id -> "STATE units expires_ms buyer"
ARGV[1]  epoch
ARGV[2]  now_ms, Unix milliseconds
ARGV[3]  sellable_ms: units that come back to a dry SKU are not sold again before then
ARGV[4]  "1": an undo, which may put back what should never have been there (below zero, unreadable)
ARGV[5]  msgpack: {guards, adds, due}   at most 1000 each, at least one guard
         guards  {which of KEYS, field, what it holds (false: absent), what it is to hold (false: absent)}
         adds    {which of KEYS, field, a whole number}; one to KEYS[4] counts only where the field is there, and a buyer
                 never holds fewer units than none
         due     {member, expires_ms (false: take it out)}

Returns  {verdict, field, what it holds}   verdict: 1 changed now, 0 was changed before, 2 the field holds something else,
                                           3 the field would go below zero; at 2 and 3 nothing was changed
Errors   STALE epoch, BADVALUE, TOOMANY    nothing was changed
Cost     O(changes), bounded by 1000 of each: two reads and two writes each
]]
local meta, units_key, due, buyers, held = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local epoch, now, sellable, undo = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4] == "1"
local have = redis.call("HGET", meta, "epoch")
if have ~= epoch then return redis.error_reply("STALE " .. (have or "none")) end
local wish = cmsgpack.unpack(ARGV[5])
local guards, adds, members = wish[1], wish[2], wish[3]
local most = math.max(#guards, #adds, #members)
if most > 1000 then return redis.error_reply("TOOMANY " .. most) end
-- Without a guard nothing would tell a repeat from the first time.
if #guards == 0 then return redis.error_reply("BADVALUE no guard") end
local hashes = { [2] = units_key, [4] = buyers, [5] = held }
local function whole(text) return #text <= 16 and string.match(text, "^%-?%d+$") ~= nil end

local before, after, odd, odd_value = 0, 0, nil, nil
for i = 1, #guards do
  local place, field, old, new = guards[i][1], guards[i][2], guards[i][3], guards[i][4]
  if not hashes[place] or old == new then return redis.error_reply("BADVALUE guard " .. tostring(field)) end
  if new and not undo then
    local fine
    if place == 5 then
      fine = string.match(new, "^[RSX] %d+ %d+ .") and #string.match(new, "^%a (%d+)") <= 15
    elseif string.sub(field, 1, 1) == "I" then
      fine = string.match(new, "^%d+ %d+ %d+$")
    else
      fine = whole(new) and string.sub(new, 1, 1) ~= "-"
    end
    if not fine then return redis.error_reply("BADVALUE " .. field .. " " .. new) end
  end
  local now_there = redis.call("HGET", hashes[place], field)
  if now_there == new then
    after = after + 1
  elseif now_there == old then
    before = before + 1
  else
    odd, odd_value = field, now_there or ""
  end
end
if after == #guards then return { 0, "", "" } end
if before ~= #guards then
  return { 2, odd or guards[1][2], odd_value or redis.call("HGET", hashes[guards[1][1]], guards[1][2]) or "" }
end

local sums = {}
for i = 1, #adds do
  local place, field, delta = adds[i][1], adds[i][2], adds[i][3]
  if (place ~= 2 and place ~= 4) or type(delta) ~= "number" or delta % 1 ~= 0 or math.abs(delta) > 1e12 then
    return redis.error_reply("BADVALUE add " .. tostring(field))
  end
  local there = redis.call("HGET", hashes[place], field)
  if not there and place == 2 and string.sub(field, 1, 1) == "L" then
    there = string.match(redis.call("HGET", units_key, "I" .. string.sub(field, 2)) or "", "^%d+ (%d+) ")
  end
  if there or place == 2 then
    there = there or "0"
    if not whole(there) then return redis.error_reply("BADVALUE " .. field .. " " .. there) end
    local sum = tonumber(there) + delta
    if sum < 0 and place == 4 then sum = 0 end
    if sum < 0 and delta < 0 then return { 3, field, there } end
    sums[#sums + 1] = { place, field, sum, delta, tonumber(there) }
  end
end

redis.call("HINCRBY", meta, "writes", 1)
for i = 1, #guards do
  local place, field, new = guards[i][1], guards[i][2], guards[i][4]
  if new then
    redis.call("HSET", hashes[place], field, new)
  else
    redis.call("HDEL", hashes[place], field)
  end
end
for i = 1, #sums do
  local place, field, sum, delta, was = sums[i][1], sums[i][2], sums[i][3], sums[i][4], sums[i][5]
  if place == 2 and delta > 0 and string.sub(field, 1, 1) == "L" then
    -- As in stock/release: workers still answer "sold out" for a dry SKU from memory.
    local sku = string.sub(field, 2)
    local row = redis.call("HMGET", units_key, "V" .. sku, "W" .. sku)
    local waiting = (row[2] and now < tonumber(row[2])) and tonumber(row[1]) or 0
    if was - waiting <= 0 then
      redis.call("HSET", units_key, "V" .. sku, string.format("%.0f", waiting + delta), "W" .. sku, sellable)
    end
  end
  redis.call("HSET", hashes[place], field, string.format("%.0f", sum))
end
for i = 1, #members do
  if members[i][2] then
    redis.call("ZADD", due, members[i][2], members[i][1])
  else
    redis.call("ZREM", due, members[i][1])
  end
end
redis.call("HINCRBY", meta, "writes", 1)
return { 1, "", "" }
